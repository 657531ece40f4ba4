-- Load for wrk: questions about random people. PEOPLE says how many there are; with ASK=primary_key
-- their profiles are read, else a decision is made, about WHO where that is given.
local people = tonumber(os.getenv("PEOPLE"))
local reads = os.getenv("ASK") == "primary_key"
local who = os.getenv("WHO")

math.randomseed(os.time())
wrk.headers["Content-Type"] = "application/json"

local body = '{"user_id":"%s","context":{"amount":%d,"category":"Rock Concert","channel":"web"}}'

function request()
  local user = who or "user-" .. math.random(people)
  if reads then
    return wrk.format("GET", "/by-primary-key/" .. user)
  end
  return wrk.format("POST", "/decide", nil, body:format(user, math.random(300)))
end
