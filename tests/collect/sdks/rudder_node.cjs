// One call of every kind through @rudderstack/rudder-sdk-node: node rudder_node.cjs URL KEY
const RudderAnalytics = require('@rudderstack/rudder-sdk-node')

const [dataPlaneUrl, writeKey] = process.argv.slice(2)
const analytics = new RudderAnalytics(writeKey, { dataPlaneUrl, flushAt: 20 })

const userId = 'node-user'
analytics.identify({ userId, traits: { email: 'node@example.com', plan: 'gold' } })
analytics.track({ userId, event: 'Order Completed', properties: { order_id: 'o1', total: 19.9 } })
analytics.page({ userId, name: 'Home' })
analytics.screen({ userId, name: 'Start' })
analytics.group({ userId, groupId: 'g1', traits: { name: 'Acme' } })
analytics.alias({ userId, previousId: 'node-anonymous' })
for (let number = 0; number < 40; number += 1) {
  analytics.track({ anonymousId: `node-anonymous-${number}`, event: 'Product Viewed' })
}
// One flush sends one batch.
function finish() {
  if (analytics.queue.length === 0) process.exit(0)
  analytics.flush((error) => {
    if (error) {
      console.error('error', error)
      process.exit(1)
    }
    finish()
  })
}
setTimeout(finish, 500)
