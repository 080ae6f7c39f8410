"""The Tamis server: a whole recommendation funnel behind one gRPC call."""
