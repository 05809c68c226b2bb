-- Version 7: the views say from which source a device or an event is. A packed payload of another source than the IoT platform
-- begins with the byte 5, the length of the name, and the name.
CREATE FUNCTION {schema}.source_of(payload bytea) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN length(payload) > 1 AND get_byte(payload, 0) = 5
  THEN convert_from(substr(payload, 3, get_byte(payload, 1)), 'UTF8') ELSE 'iot-platform' END $$;

CREATE OR REPLACE VIEW {schema}.devices AS
SELECT
  type,
  id,
  CASE WHEN connected THEN 'connected' ELSE 'disconnected' END AS status,
  to_timestamp(nullif(time, -9223372036854775808) / 1e9) AS since,
  to_timestamp(nullif(session, -9223372036854775808) / 1e9) AS session,
  close_code,
  reason,
  address,
  to_timestamp(received_at) AS received_at,
  {schema}.source_of(payload) AS source
FROM {schema}.device;

CREATE OR REPLACE VIEW {schema}.events AS
SELECT
  device.type,
  device.id,
  event.sequence,
  CASE event.kind
    WHEN 0 THEN 'request' WHEN 1 THEN 'connect' WHEN 2 THEN 'takeover' WHEN 3 THEN 'refusal'
    WHEN 4 THEN 'disconnect' WHEN 5 THEN 'failed_login'
  END AS event,
  to_timestamp(nullif(event.time, -9223372036854775808) / 1e9) AS time,
  to_timestamp(nullif(event.session, -9223372036854775808) / 1e9) AS session,
  event.close_code,
  to_timestamp(event.received_at) AS received_at,
  {schema}.source_of(event.payload) AS source
FROM {schema}.event JOIN {schema}.device ON device.number = event.device;
