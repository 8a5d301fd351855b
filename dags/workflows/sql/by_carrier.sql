-- One row per airline that flew often enough.
SELECT
  carrier,
  any_value(airline) AS airline,
  count(*) AS flights,
  count(*) FILTER (WHERE cancelled) AS cancelled,
  avg(dep_delay) AS mean_delay,
  100.0 * count(*) FILTER (WHERE dep_delay >= 15) / count(*) AS late_percent
FROM departures
GROUP BY carrier
HAVING count(*) >= {{ params.min_flights }}
ORDER BY mean_delay DESC
