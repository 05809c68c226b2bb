//! The broker RMQTT on a loopback port, with the plugins for retained messages and for `$SYS` topics, as `rmqttd` starts them.

use rmqtt::Result;
use rmqtt::context::ServerContext;
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;

#[tokio::main]
async fn main() -> Result<()> {
    let port = std::env::args().nth(1).unwrap_or_default();
    // A broker that finds its machine busy refuses clients.
    let context = ServerContext::new().node_id(1).busy_check_enable(false).build().await;
    rmqtt_retainer::register_named(&context, "rmqtt-retainer", true, false).await?;
    rmqtt_sys_topic::register_named(&context, "rmqtt-sys-topic", true, false).await?;
    let address = format!("127.0.0.1:{port}").parse()?;
    let listener = Builder::new().name("tcp").laddr(address).allow_anonymous(true).bind()?.tcp()?;
    MqttServer::new(context).listener(listener).build().run().await
}
