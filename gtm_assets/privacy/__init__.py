"""Personal data over time: erasure of a person from all that the platform keeps, with proof."""
