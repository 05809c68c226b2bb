-- The events of all devices that were kept by transactions after $1, oldest first: so many transactions that there are $2
-- events, and the last one whole. One row at least, which says what else is to be known. One statement, so one moment.
--
-- Only transactions below which none is still under way: whatever commits later stands behind them. What they have kept comes in
-- the order of the histories: of two that write events of one device, the second waits for the first, but may have begun
-- before it. An event's device is looked up for each event (LIMIT 1 sees to it): the planner cannot know how few they are, and
-- would read all devices. What is known of the order is read by itself: of a table that was never analysed the planner expects
-- thousands of rows.
WITH moment AS (
  SELECT txid_snapshot_xmin(snapshot) AS commit_watermark, txid_snapshot_xmax(snapshot) AS next
  FROM txid_current_snapshot() AS snapshot
), step AS (
  SELECT count(*) AS found, max(kept_in) AS upto
  FROM (
    SELECT kept_in FROM {schema}.event
    WHERE kept_in > 0 AND kept_in > $1 AND kept_in < (SELECT commit_watermark FROM moment)
    ORDER BY kept_in LIMIT $2
  ) AS events
)
SELECT
  moment.commit_watermark, moment.next, pg_is_in_recovery() AS standby,
  (SELECT dropped FROM {schema}.event_order) AS dropped,
  (SELECT concat_ws('/', {cluster}, tableoid, {timeline}, restored) FROM {schema}.event_order) AS order_name,
  (
    SELECT kept_in FROM {schema}.event WHERE kept_in > 0 AND kept_in >= moment.next ORDER BY kept_in LIMIT 1
  ) IS NOT NULL AS is_foreign,
  step.found, step.upto,
  page.type, page.id, page.kept_in, page.sequence, page.received_at, page.kind, page.session, page.time, page.close_code,
  page.payload, page.is_first_seen
FROM moment CROSS JOIN step
LEFT JOIN LATERAL (
  SELECT * FROM {schema}.event
  CROSS JOIN LATERAL (SELECT type, id FROM {schema}.device WHERE device.number = event.device LIMIT 1) AS owner
  WHERE event.kept_in > 0 AND event.kept_in > $1 AND event.kept_in <= step.upto
) AS page ON true
ORDER BY page.sequence
