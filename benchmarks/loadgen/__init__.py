"""Load generators side by side, and the paced server that tells the truth about them."""
