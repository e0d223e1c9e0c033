"""The command line of onnxpath: one command per file; results on stdout, everything else on stderr."""
