//! The configuration from any bytes.
//!
//! In: any bytes. Out: nothing. Must not: panic, or take long; there is nothing
//! else that a caller could see.

/// Validates a configuration, and words what is wrong with it.
///
/// # Panics
/// If a mistake has no words.
pub fn fuzz_configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match super::parse("config.toml", &text) {
        Ok((config, warnings)) => {
            drop(config);
            drop(warnings);
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
    drop(super::lenient::gist(&text));
}
