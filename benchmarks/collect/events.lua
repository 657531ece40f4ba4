-- Load for wrk: every event has an id of its own. BATCH is the number of events in a request,
-- 0 for single events; AUTHORIZATION the header with the write key.
local batch_events = tonumber(os.getenv("BATCH"))
local counter = 0

math.randomseed(os.time())
local run = math.random(2 ^ 31)

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")

local template = '{"type":"track","event":"Product Viewed",'
  .. '"messageId":"%08x-%04x-4000-8000-%012x","userId":"user-%d","anonymousId":"anonymous-%d",'
  .. '"timestamp":"2026-01-31T12:00:00.000Z",'
  .. '"properties":{"product_id":"sku-%d","price":%d.99,"currency":"USD"},'
  .. '"context":{"library":{"name":"analytics.js","version":"1.0"},'
  .. '"traits":{"email":"user%d@example.com"}}}'

local function event()
  counter = counter + 1
  local user = counter % 50000
  return template:format(
    run, math.random(0, 65535), counter, user, counter % 70000, counter % 1000, counter % 90, user
  )
end

-- Writing a hundred events costs more than sending them, and the generator shares the processors
-- with the service: batches are prepared once, and only their run number changes.
local prepared = {}

function init()
  for number = 1, batch_events > 0 and 64 or 0 do
    local events = {}
    for index = 1, batch_events do
      events[index] = event()
    end
    prepared[number] = '{"batch":[' .. table.concat(events, ",") .. "]}"
  end
end

function request()
  if batch_events == 0 then
    return wrk.format(nil, nil, nil, event())
  end
  counter = counter + 1
  local body = prepared[counter % #prepared + 1]
  local fresh = ("%08x"):format(counter % 2 ^ 32)
  return wrk.format(nil, nil, nil, (body:gsub('"messageId":"%x%x%x%x%x%x%x%x', '"messageId":"' .. fresh)))
end
