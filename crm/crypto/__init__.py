"""The one door to cryptography: envelopes, data keys, key sets, row seals, blind indexes, providers of root keys."""
