//! What is drawn by chance, from the system: names that no other store has.

use crate::error::Error;

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| Error::io("drawing random bytes", cause.into()))?;
    Ok(bytes)
}
