-- The window of searches follows a search by itself; from it the tree, stop and apply best.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')
local windows = require('kernelevolve.windows')
local buffer, client = t.open('triton.py')

local moved = 0
vim.api.nvim_create_autocmd('User', {
  pattern = 'KernelEvolveSearches',
  callback = function()
    moved = moved + 1
  end,
})

vim.cmd('KernelEvolve searches')
local list = t.wait('the list', function()
  return windows.find('kernelevolve://searches')
end)
t.holds(t.text(list), 'No searches yet', 'an empty list')
t.equal(vim.bo[list].modifiable, false, 'whether the list can be edited')

vim.cmd.wincmd('p')
t.equal(vim.api.nvim_get_current_buf(), buffer, 'the buffer')
vim.cmd('KernelEvolve optimize scale evaluations=3')
t.message('search s1 runs')
t.wait('the finished search in the list, without asking', function()
  return t.text(list):find('s1%s+finished%s+3/3%s+1.80x')
end)
t.equal(moved >= 3, true, 'events')
t.equal(vim.fn.getcompletion('KernelEvolve stop ', 'cmdline'), { 's1' }, 'ids')

vim.api.nvim_set_current_win(vim.fn.win_findbuf(list)[1])
vim.api.nvim_win_set_cursor(0, { 3, 0 })
vim.api.nvim_feedkeys(vim.keycode('<CR>'), 'x', false)
local tree = t.wait('the tree', function()
  return windows.find('kernelevolve://search/s1')
end)
local text = t.text(tree)
t.holds(text, '#1  correct  1.00x  start', 'tree')
t.holds(text, '\n  #2  correct  1.80x  ★ best  wider tiles', 'tree')
t.holds(text, '\n    #3  wrong  also from #1', 'tree')
t.holds(text, 'Best kernel:\n\n# best', 'tree')

vim.api.nvim_set_current_win(vim.fn.win_findbuf(list)[1])
vim.api.nvim_win_set_cursor(0, { 3, 0 })
vim.api.nvim_feedkeys('s', 'x', false)
t.message('search s1: stopping')
vim.api.nvim_feedkeys('a', 'x', false)
t.message('the best kernel found is in place')
t.equal(t.text(buffer), '# receipt r2\npass', 'the buffer')

vim.api.nvim_feedkeys('q', 'x', false)
t.equal(windows.find('kernelevolve://searches'), nil, 'the list after q')
t.close(client)
