"""The Tamis server: a whole recommendation funnel behind one gRPC call."""

import os

# Arrow reads it when it is first imported. Its own allocator keeps what loading a bundle took, for
# good, where huge pages are asked for: there the kernel (khugepaged) makes ever more of the pages
# that processes share into huge ones of their own. What is malloc's can be given back.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
