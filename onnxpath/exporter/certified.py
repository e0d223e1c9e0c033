"""What is claimed of a file that was written: in its metadata, and beside it as NAME.certificate.json."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def certificate_path(model: str | os.PathLike[str]) -> str:
    """Where the certificate of a file is written."""
    return f"{os.path.splitext(os.fsdecode(model))[0]}.certificate.json"


@dataclass(frozen=True)
class Certified:
    """key: of the metadata. document: a JSON document."""

    key: str
    document: Mapping[str, Any]

    def metadata(self) -> dict[str, str]:
        """The document as one line of ASCII."""
        return {self.key: json.dumps(self.document, allow_nan=False, separators=(",", ":"))}

    def beside(self, model: str | os.PathLike[str]) -> tuple[str, bytes]:
        """The file beside a model, and what it holds."""
        text = json.dumps(self.document, indent=2, allow_nan=False) + "\n"
        return certificate_path(model), text.encode("ascii")
