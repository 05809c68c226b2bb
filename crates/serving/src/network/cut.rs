//! How a resource ends the connection that it is answered on. A client that has stopped reading cannot be told anything: no
//! end of the answer gets through to it, so the connection has to go.

use tokio_util::sync::CancellationToken;

/// Stands among the extensions of every request.
#[derive(Clone, Debug, Default)]
pub struct Cut(pub CancellationToken);
