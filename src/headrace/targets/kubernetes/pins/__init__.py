"""What a fleet's tags mean now: images as digests, the model as a commit."""
