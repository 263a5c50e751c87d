"""One file, one data set, one model, one result."""
