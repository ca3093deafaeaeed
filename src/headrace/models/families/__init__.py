"""One file per model family. A new family is one new module here with a `FAMILIES` tuple."""
