"""Looking for inputs where two networks really differ much: lower ends of what bounds certify
(docs/search.md)."""
