-- Drops changes of the catalogue where no other has taken their place.
--
-- KEYS  hash of the last change by facet and key
-- ARGV  stamps of changes (domain/changes)

local call, sub = redis.call, string.sub
for _, stamp in ipairs(ARGV) do
  local facet = (sub(stamp, 1, 1) == 'a' and 'a' or 'i') .. sub(stamp, 2, 9)
  local last = call('HGET', KEYS[1], facet)
  if last and sub(last, 1, #stamp) == stamp then
    call('HDEL', KEYS[1], facet)
  end
end
