-- Windows with text that nobody edits.

local M = {}

--- Show lines in the buffer of this name, in the window that shows it or a new one below.
---@param name string such as `kernelevolve://searches`
---@param lines string[]
---@param options? { filetype?: string, focus?: boolean }
---@return integer buffer
function M.show(name, lines, options)
  options = options or {}
  local buffer = M.find(name)
  if not buffer then
    buffer = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(buffer, name)
    vim.bo[buffer].bufhidden = 'wipe'
    vim.bo[buffer].filetype = options.filetype or 'kernelevolve'
    vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buffer, desc = 'Close this window' })
  end
  M.fill(buffer, lines)
  if #vim.fn.win_findbuf(buffer) == 0 then
    local before = vim.api.nvim_get_current_win()
    local height = math.max(5, math.min(#lines + 1, math.floor(vim.o.lines / 2)))
    vim.api.nvim_open_win(buffer, true, { split = 'below', win = -1, height = height })
    if options.focus == false then
      vim.api.nvim_set_current_win(before)
    end
  end
  return buffer
end

--- The buffer of this name, if there is one.
---@param name string
---@return integer|nil
function M.find(name)
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(buffer) and vim.api.nvim_buf_get_name(buffer) == name then
      return buffer
    end
  end
end

--- Replace the lines of a buffer; cursors stay where they are.
---@param buffer integer
---@param lines string[]
function M.fill(buffer, lines)
  local places = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    places[window] = vim.api.nvim_win_get_cursor(window)
  end
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].modified = false
  for window, place in pairs(places) do
    vim.api.nvim_win_set_cursor(window, { math.max(1, math.min(place[1], #lines)), place[2] })
  end
end

return M
