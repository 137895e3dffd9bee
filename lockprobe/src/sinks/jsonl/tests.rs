//! Conversion of every kind of record.
