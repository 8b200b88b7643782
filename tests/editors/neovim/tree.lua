-- The tree draws every node exactly once, whatever the parents say.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')
local tree = require('kernelevolve.tree')

local function node(id, parents)
  return { id = id, parents = parents, status = 'correct', speedup = vim.NIL, note = vim.NIL }
end

t.equal(tree.lines({}, nil), {}, 'no nodes')
t.equal(tree.lines({ node(1, {}), node(2, { 9 }) }, nil), { '#1  correct', '#2  correct' }, 'a parent that is missing')
t.equal(#tree.lines({ node(1, { 2 }), node(2, { 1 }) }, nil), 2, 'a circle')
t.equal(#tree.lines({ node(1, { 1 }) }, nil), 1, 'its own parent')
t.equal(
  tree.lines({ node('a', {}), node('b', { 'a' }), node('c', { 'a' }), node('d', { 'b' }) }, { node = 'd' }),
  { '#a  correct', '  #b  correct', '    #d  correct  ★ best', '  #c  correct' },
  'order'
)

local chain = {}
for id = 1, 5000 do
  table.insert(chain, node(id, { id - 1 }))
end
local lines = tree.lines(chain, nil)
t.equal(#lines, 5000, 'a long chain')
t.equal(#lines[5000] < 100, true, 'width of the deepest line')

local torn = node(1, {})
torn.note = 'two\nlines'
t.equal(tree.lines({ torn }, nil), { '#1  correct  two lines' }, 'a note of two lines')
