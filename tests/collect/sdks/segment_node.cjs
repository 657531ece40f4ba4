// One call of every kind through @segment/analytics-node: node segment_node.cjs URL KEY
const { Analytics } = require('@segment/analytics-node')

const [url, writeKey] = process.argv.slice(2)
const analytics = new Analytics({ writeKey, host: url, flushAt: 15 })
analytics.on('error', (error) => {
  console.error('error', error)
  process.exitCode = 1
})

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
analytics.closeAndFlush({ timeout: 20000 })
