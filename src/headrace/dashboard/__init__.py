"""The live page of a running fleet: scraped, turned into series, shown without any network."""
