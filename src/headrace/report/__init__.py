"""Reports: self-contained HTML from the files of runs."""
