-- Keeps changes of the catalogue and puts them on the stream that servers follow.
--
-- KEYS  hash of the last change by facet and key; stream; position
-- ARGV  changes the stream keeps; then the changes (domain/changes)
-- Returns the position after the last.

local call = redis.call
local position = tonumber(call('GET', KEYS[3]) or '0')
for at = 2, #ARGV do
  local change = ARGV[at]
  local letter, key = string.sub(change, 1, 1), string.sub(change, 2, 9)
  if letter == 'a' then
    call('HSET', KEYS[1], 'a' .. key, change)
  else
    call('HSET', KEYS[1], 'i' .. key, change)
    if letter == 'u' or letter == 'c' then
      call('HDEL', KEYS[1], 'a' .. key)
    end
  end
  position = position + 1
  call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], string.format('%d-1', position), 'c', change)
end
call('SET', KEYS[3], string.format('%d', position))
return position
