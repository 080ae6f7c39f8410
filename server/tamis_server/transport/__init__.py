"""The edge: gRPC in, domain types out. The only room, with the remote adapters, that knows gRPC."""
