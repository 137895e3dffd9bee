//! Stories: what the kernel half saw, and what it meant.
