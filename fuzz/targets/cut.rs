#![no_main]

// What panics in the readers of JPEG XL is caught by the cutter and no finding; what comes out of the target is.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| {
        if !panic.location().is_some_and(|place| place.file().contains("/jxl-")) {
            eprintln!("{panic}");
        }
    })),
    |bytes: &[u8]| framelane_fuzz::cut(bytes)
);
