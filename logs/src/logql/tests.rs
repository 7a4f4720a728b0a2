//! Tests of the parser and printer.
