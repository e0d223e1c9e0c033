"""`python -m onnxpath`: the same program as `onnxpath`."""

from onnxpath.cli.main import main

if __name__ == "__main__":
    main()
