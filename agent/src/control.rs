//! Not built yet: waits for the end.

use crate::Error;
use crate::agent::Context;

/// Runs until shutdown.
pub(crate) async fn run(context: Context) -> Result<(), Error> {
    context.shutdown.cancelled().await;
    Ok(())
}
