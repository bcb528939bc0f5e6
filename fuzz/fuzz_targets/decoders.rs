//! Every decoder of `sim/src/fuzz.rs` under libFuzzer, the one that `IN_MEM_FUZZ_DECODER` names. `cargo xtask fuzz --guided` is
//! what people use.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static DECODER: OnceLock<String> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let decoder = DECODER
        .get_or_init(|| std::env::var("IN_MEM_FUZZ_DECODER").expect("IN_MEM_FUZZ_DECODER names a decoder"));
    in_mem_sim::fuzz::feed(decoder, bytes);
});
