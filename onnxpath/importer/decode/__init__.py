"""Bytes -> protobuf and arrays, within a budget of memory."""
