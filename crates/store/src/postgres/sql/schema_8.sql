-- Version 8: what is kept of the endpoints of webhooks, and which instance delivers to each until when.
CREATE TABLE {schema}.webhook (
  name text PRIMARY KEY,
  state text NOT NULL
);
CREATE TABLE {schema}.webhook_lease (
  endpoint text PRIMARY KEY,
  holder text NOT NULL,
  expires timestamptz NOT NULL
);
