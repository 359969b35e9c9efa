/// How many cases a property test runs: 256, or what `HOLDPOINT_CASES` says.
pub(crate) fn cases() -> u32 {
    std::env::var("HOLDPOINT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}
