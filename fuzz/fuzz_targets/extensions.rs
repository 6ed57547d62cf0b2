#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pondwire_fuzz::targets::extensions::check(input));
