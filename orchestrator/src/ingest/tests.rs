//! Tests of the gRPC service against real stores, over a real connection.
