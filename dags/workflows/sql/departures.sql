-- Every flight once, with what the other tables know of it. They lack some of it (the weather of the last day,
-- planes without a record, airports in the Caribbean), hence LEFT JOIN; and none may bring a flight twice:
-- each is joined by its whole key.
SELECT
  make_date(f.year, f.month, f.day) AS date,
  f.time_hour,
  f.carrier,
  l.name AS airline,
  f.flight,
  f.tailnum,
  f.origin,
  f.dest,
  a.name AS destination,
  f.hour,
  f.sched_dep_time,
  f.dep_time,
  f.dep_delay,
  f.arr_delay,
  f.air_time,
  f.distance,
  f.dep_time IS NULL AS cancelled,
  w.temp,
  w.wind_speed,
  w.precip,
  w.visib,
  p.manufacturer,
  p.model,
  p.year AS built,
  p.seats
FROM flights AS f
LEFT JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
LEFT JOIN planes AS p ON p.tailnum = f.tailnum
LEFT JOIN airports AS a ON a.faa = f.dest
LEFT JOIN airlines AS l ON l.carrier = f.carrier
