# SPDX-License-Identifier: BSD-2-Clause
# The Rust example, built by the compiler in /rust from the crates in /crates.
PATH=/rust/bin:$PATH cargo build --quiet --offline --locked --manifest-path /examples/rust/Cargo.toml
test "$("$CARGO_TARGET_DIR/debug/sign" "$TCTI" 'a message' | wc -c)" -eq 129
