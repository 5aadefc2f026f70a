"""The compiled executor: a selection becomes a Python function that makes the response of what root fields came to.

graphql-core is the specification. A compiled function makes complete responses without an error only, which are those
of graphql-core; whatever else it meets, it gives up, and graphql-core makes the response of the same outcomes. It calls
no resolver of a root field, so that giving up repeats no reading. docs/decisions/0034 says why it is as it is.
"""

from schema.compiled.selection import Completion, Uncompilable
from schema.compiled.values import is_awaitable

__all__ = ["Completion", "Uncompilable", "is_awaitable"]
