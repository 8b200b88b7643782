;;; kernelevolve.el --- What an accelerator kernel costs, through eglot  -*- lexical-binding: t; -*-

;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1") (eglot "1.9"))
;; Keywords: languages, tools
;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Makes eglot start `kernelevolve lsp' for Python, C++ and CUDA buffers, shows its code lenses, and has commands to
;; judge, profile and search kernels.  In the init file:
;;
;;     (require 'kernelevolve)
;;     (kernelevolve-setup)
;;     (add-hook 'python-mode-hook #'eglot-ensure)
;;
;; Eglot has one server for each buffer: `kernelevolve-setup' puts this one before others for these modes.

;;; Code:

(require 'cl-lib)
(require 'eglot)
(require 'jsonrpc)
(require 'tabulated-list)

(defgroup kernelevolve nil
  "Judge, profile and search accelerator kernels."
  :group 'eglot)

(defcustom kernelevolve-program '("kernelevolve" "lsp" "--stdio")
  "Program of the language server and its arguments."
  :type '(repeat string))

(defcustom kernelevolve-modes '(python-mode python-ts-mode c++-mode c++-ts-mode cuda-mode)
  "Major modes whose buffers the server serves."
  :type '(repeat symbol))

(defcustom kernelevolve-settings nil
  "Settings of the server, as a property list.
For example (:targets [\"cuda:sm_90\"] :trusted :json-false).
docs/editors.md lists them."
  :type 'plist)

(defconst kernelevolve--searches-buffer "*kernelevolve searches*")

(defvar-local kernelevolve--of-server nil
  "The server that a list of searches belongs to.")

(defclass kernelevolve-server (eglot-lsp-server) ()
  :documentation "The language server of KernelEvolve.")

(defun kernelevolve-setup ()
  "Make eglot start KernelEvolve's server for `kernelevolve-modes'."
  (add-to-list 'eglot-server-programs (cons kernelevolve-modes (cons 'kernelevolve-server kernelevolve-program)))
  (add-hook 'eglot-managed-mode-hook #'kernelevolve--managed))

(defun kernelevolve--managed ()
  "Show lenses where our server serves the buffer."
  (when (kernelevolve-server-p (eglot-current-server))
    (kernelevolve-lens-mode (if (eglot-managed-p) 1 -1))))

(cl-defmethod eglot-initialization-options ((_server kernelevolve-server))
  "The settings of the user."
  (or kernelevolve-settings eglot--{}))

(cl-defmethod eglot-client-capabilities :around ((_server kernelevolve-server))
  "What this file adds to eglot: lenses that can be asked for again, searches that are followed."
  (let* ((capabilities (cl-call-next-method))
         (workspace (copy-sequence (plist-get capabilities :workspace)))
         (experimental '(:kernelevolve (:searches t))))
    (setq capabilities (copy-sequence capabilities))
    (setq workspace (plist-put workspace :codeLens '(:refreshSupport t)))
    (setq capabilities (plist-put capabilities :workspace workspace))
    (plist-put capabilities :experimental experimental)))

(cl-defmethod eglot-handle-request ((server kernelevolve-server) (_method (eql 'workspace/codeLens/refresh)) &rest _)
  "Ask again for the lenses of the buffers that SERVER serves."
  (dolist (buffer (eglot--managed-buffers server))
    (when (buffer-live-p buffer)
      (with-current-buffer buffer (kernelevolve-lens-refresh))))
  nil)

(cl-defmethod eglot-handle-notification
  ((server kernelevolve-server) (_method (eql 'kernelevolve/searchesChanged)) &rest _)
  "Bring the list of searches of SERVER up to date, where it is shown."
  (when (get-buffer kernelevolve--searches-buffer)
    (kernelevolve--fill-searches server)))

;;; Asking the server

(defun kernelevolve--server ()
  "The server of this buffer.  Signals a `user-error' that says what to do where there is none."
  (let ((server (or (bound-and-true-p kernelevolve--of-server) (eglot-current-server))))
    (unless (and (kernelevolve-server-p server) (jsonrpc-running-p server))
      (user-error "KernelEvolve serves no file here: call (kernelevolve-setup), then M-x eglot in a file with kernels"))
    server))

(defun kernelevolve--uri ()
  "The address of this buffer's file, as eglot names it to the server."
  (plist-get (eglot--TextDocumentIdentifier) :uri))

(defun kernelevolve--ask (server method params on-result)
  "Send METHOD with PARAMS to SERVER and hand the answer to ON-RESULT; an error is shown.
Nothing waits: a verdict may take minutes."
  (jsonrpc-async-request
   server method params
   :success-fn on-result
   :error-fn (lambda (failure) (message "kernelevolve: %s" (plist-get failure :message)))
   :timeout-fn (lambda () (message "kernelevolve: no answer to %s within a day" method))
   :timeout 86400))

(defun kernelevolve--execute (server command argument on-result)
  "Run COMMAND of SERVER with ARGUMENT, a property list, and hand the answer to ON-RESULT."
  (kernelevolve--ask server :workspace/executeCommand
                     (list :command command :arguments (vector argument)) on-result))

(defun kernelevolve--speedup (speedup)
  "SPEEDUP as text."
  (if (numberp speedup) (format "%.2fx" speedup) "–"))

(defun kernelevolve--show (name text)
  "Show TEXT in a buffer called NAME, in another window."
  (with-current-buffer (get-buffer-create name)
    (let ((inhibit-read-only t))
      (erase-buffer)
      (insert text)
      (goto-char (point-min)))
    (special-mode)
    (display-buffer (current-buffer))))

;;; Commands

(defun kernelevolve--answer (command result)
  "Show RESULT, what COMMAND answered."
  (pcase command
    ("kernelevolve.verify"
     (message "kernelevolve: %s %s: %s" (plist-get result :status)
              (kernelevolve--speedup (plist-get result :speedup)) (plist-get result :message)))
    ("kernelevolve.profile"
     (kernelevolve--show
      "*kernelevolve profile*"
      (concat (plist-get result :summary) "\n\n"
              (mapconcat (lambda (one) (format "- %s\n" (kernelevolve--bottleneck one))) (plist-get result :bottlenecks) "")
              (if (plist-get result :report) (format "\nReport: %s\n" (plist-get result :report)) ""))))
    ("kernelevolve.optimize"
     (message "kernelevolve: search %s runs; M-x kernelevolve-searches follows it" (plist-get result :search)))
    ("kernelevolve.stop"
     (message "kernelevolve: search %s: %s" (plist-get result :search) (plist-get result :state)))
    ("kernelevolve.applyBest"
     (if (eq t (plist-get result :applied))
         (message "kernelevolve: the best kernel found is in place: %s" (kernelevolve--speedup (plist-get result :speedup)))
       (message "kernelevolve: the best kernel found was not put in place")))
    ("kernelevolve.showKernel"
     (kernelevolve--show "*kernelevolve kernel*" (concat (plist-get result :title) "\n\n" (plist-get result :text))))))

(defun kernelevolve--bottleneck (one)
  "ONE bottleneck as a line, and what to do below it."
  (let ((share (plist-get one :share)) (advice (plist-get one :advice)))
    (concat (plist-get one :kind) (if (numberp share) (format " (%.0f %%)" (* 100 share)) "") ": "
            (plist-get one :summary) (if (and advice (not (equal "" advice))) (concat "\n  " advice) ""))))

(defun kernelevolve--run (command argument)
  "Run COMMAND with ARGUMENT for this buffer and show what it answers."
  (kernelevolve--execute (kernelevolve--server) command argument
                         (lambda (result) (kernelevolve--answer command result))))

(defun kernelevolve-verify ()
  "Judge this file: is it correct, and how fast."
  (interactive)
  (kernelevolve--run "kernelevolve.verify" (list :uri (kernelevolve--uri))))

(defun kernelevolve-profile ()
  "Say what bounds this file's kernel."
  (interactive)
  (kernelevolve--run "kernelevolve.profile" (list :uri (kernelevolve--uri))))

(defun kernelevolve-optimize (evaluations)
  "Start a search for a faster kernel, with EVALUATIONS candidates if a prefix argument says so."
  (interactive "P")
  (kernelevolve--run "kernelevolve.optimize"
                     (append (list :uri (kernelevolve--uri))
                             (and evaluations (list :evaluations (prefix-numeric-value evaluations))))))

(defun kernelevolve-apply-best ()
  "Replace this file's kernel by the best one found, with its receipt in a comment."
  (interactive)
  (kernelevolve--run "kernelevolve.applyBest" (list :uri (kernelevolve--uri))))

(defun kernelevolve-status ()
  "Show which targets can be compiled for here."
  (interactive)
  (kernelevolve--ask
   (kernelevolve--server) :kernelevolve/status eglot--{}
   (lambda (result)
     (kernelevolve--show
      "*kernelevolve status*"
      (concat (format "kernelevolve %s, state in %s\nTriton: %s\n" (plist-get result :version) (plist-get result :state)
                      (or (plist-get result :triton) "not installed"))
              (mapconcat (lambda (target)
                           (format "%s: %s%s\n" (plist-get target :name)
                                   (if (eq t (plist-get target :compiles)) "compiles" "does not compile")
                                   (if (plist-get target :reason) (concat ": " (plist-get target :reason)) "")))
                         (plist-get result :targets) ""))))))

;;; Lenses

(defvar-local kernelevolve--lenses nil
  "The lenses of this buffer, as the server gave them.")

(define-minor-mode kernelevolve-lens-mode
  "Show the lenses of KernelEvolve's server above the kernels; `kernelevolve-lens' runs one."
  :lighter nil
  (if kernelevolve-lens-mode
      (progn
        (add-hook 'after-save-hook #'kernelevolve-lens-refresh nil t)
        (kernelevolve-lens-refresh))
    (remove-hook 'after-save-hook #'kernelevolve-lens-refresh t)
    (remove-overlays nil nil 'kernelevolve t)))

(defun kernelevolve-lens-refresh ()
  "Ask for this buffer's lenses again."
  (interactive)
  (let ((buffer (current-buffer)))
    (kernelevolve--ask
     (kernelevolve--server) :textDocument/codeLens (list :textDocument (eglot--TextDocumentIdentifier))
     (lambda (lenses)
       (when (buffer-live-p buffer)
         (with-current-buffer buffer (kernelevolve--resolve-lenses (append lenses nil))))))))

(defun kernelevolve--resolve-lenses (lenses)
  "Ask for the commands of those LENSES that have none, then show all."
  (let ((buffer (current-buffer))
        (open (cl-count-if-not (lambda (lens) (plist-get lens :command)) lenses))
        (resolved (vconcat lenses)))
    (if (zerop open)
        (kernelevolve--draw-lenses lenses)
      (cl-loop
       for lens across (copy-sequence resolved) for index from 0
       unless (plist-get lens :command)
       do (let ((index index))
            (kernelevolve--ask
             (kernelevolve--server) :codeLens/resolve lens
             (lambda (whole)
               (aset resolved index whole)
               (when (and (zerop (cl-decf open)) (buffer-live-p buffer))
                 (with-current-buffer buffer (kernelevolve--draw-lenses (append resolved nil)))))))))))

(defun kernelevolve--lens-line (lens)
  "The line of LENS, from 0."
  (plist-get (plist-get (plist-get lens :range) :start) :line))

(defun kernelevolve--draw-lenses (lenses)
  "Show LENSES, each line's in a line above it."
  (setq kernelevolve--lenses lenses)
  (remove-overlays nil nil 'kernelevolve t)
  (save-excursion
    (save-restriction
      (widen)
      (dolist (group (seq-group-by #'kernelevolve--lens-line lenses))
        (goto-char (point-min))
        (forward-line (car group))
        (let* ((titles (mapconcat (lambda (lens) (plist-get (plist-get lens :command) :title)) (cdr group) " · "))
               (overlay (make-overlay (point) (point))))
          (overlay-put overlay 'kernelevolve t)
          (overlay-put overlay 'before-string (propertize (concat titles "\n") 'face 'shadow)))))))

(defun kernelevolve-lens ()
  "Run a lens of this line; with more than one, choose by title."
  (interactive)
  (let* ((line (1- (line-number-at-pos nil t)))
         (commands (cl-loop for lens in kernelevolve--lenses
                            when (= line (kernelevolve--lens-line lens)) collect (plist-get lens :command)))
         (titles (mapcar (lambda (command) (plist-get command :title)) commands))
         (title (pcase titles
                  ('nil (user-error "There is no lens on this line"))
                  (`(,only) only)
                  (_ (completing-read "Lens: " titles nil t))))
         (command (cl-find title commands :key (lambda (command) (plist-get command :title)) :test #'equal)))
    (kernelevolve--run (plist-get command :command) (elt (plist-get command :arguments) 0))))

;;; Searches

(defvar kernelevolve-searches-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'kernelevolve-search-tree)
    (define-key map "a" #'kernelevolve-search-apply-best)
    (define-key map "s" #'kernelevolve-search-stop)
    map)
  "Keys of the list of searches.")

(define-derived-mode kernelevolve-searches-mode tabulated-list-mode "Searches"
  "Searches of the state folder.  RET: tree; a: apply best; s: stop; g: ask again."
  (setq tabulated-list-format
        [("Id" 14 t) ("State" 10 t) ("Candidates" 12 nil) ("Best" 8 nil) ("Platform" 14 t) ("Task" 0 t)])
  (setq-local revert-buffer-function (lambda (&rest _) (kernelevolve--fill-searches kernelevolve--of-server)))
  (tabulated-list-init-header))

(defun kernelevolve-searches ()
  "List the searches; the list follows the state folder while it is open."
  (interactive)
  (let ((server (kernelevolve--server)))
    (with-current-buffer (get-buffer-create kernelevolve--searches-buffer)
      (kernelevolve-searches-mode)
      (setq kernelevolve--of-server server)
      (display-buffer (current-buffer)))
    (kernelevolve--fill-searches server)))

(defun kernelevolve--fill-searches (server)
  "Ask SERVER for the searches and show them in their buffer."
  (kernelevolve--ask
   server :kernelevolve/searches eglot--{}
   (lambda (result)
     (when (get-buffer kernelevolve--searches-buffer)
       (with-current-buffer kernelevolve--searches-buffer
         (setq tabulated-list-entries (mapcar #'kernelevolve--search-row (plist-get result :searches)))
         (tabulated-list-print t))))))

(defun kernelevolve--search-row (search)
  "SEARCH as a row; the row's id is the search itself."
  (list search
        (vector (plist-get search :id) (plist-get search :state)
                (format "%s/%s" (plist-get search :evaluations) (plist-get search :budget))
                (kernelevolve--speedup (plist-get search :best_speedup))
                (format "%s" (plist-get search :platform)) (format "%s" (plist-get search :task)))))

(defun kernelevolve--search-here ()
  "The search on this line."
  (or (tabulated-list-get-id) (user-error "There is no search on this line")))

(defun kernelevolve-search-stop ()
  "Stop the search on this line; what it found stays."
  (interactive)
  (kernelevolve--run "kernelevolve.stop" (list :search (plist-get (kernelevolve--search-here) :id))))

(defun kernelevolve-search-apply-best ()
  "Put the best kernel of the search on this line into the file that it began from."
  (interactive)
  (let ((search (kernelevolve--search-here)))
    (unless (plist-get search :kernel_uri)
      (user-error "This search did not begin from a file: open one and M-x kernelevolve-apply-best"))
    (kernelevolve--run "kernelevolve.applyBest"
                       (list :uri (plist-get search :kernel_uri) :search (plist-get search :id)))))

(defun kernelevolve-search-tree ()
  "Show the tree of the search on this line."
  (interactive)
  (kernelevolve--ask
   (kernelevolve--server) :kernelevolve/search (list :search (plist-get (kernelevolve--search-here) :id))
   (lambda (search) (kernelevolve--show "*kernelevolve search*" (kernelevolve--tree search)))))

(defun kernelevolve--tree (search)
  "SEARCH as text: one line for each node, deeper by one step for each generation."
  (concat
   (format "Search %s  %s  best %s\n\n" (plist-get search :id) (plist-get search :state)
           (kernelevolve--speedup (plist-get search :best_speedup)))
   (mapconcat
    (lambda (node)
      (format "%s#%s  %s  %s  from %s  %s\n" (make-string (* 2 (min 20 (or (plist-get node :generation) 0))) ?\s)
              (plist-get node :id) (plist-get node :status) (kernelevolve--speedup (plist-get node :speedup))
              (mapconcat (lambda (id) (format "#%s" id)) (plist-get node :parents) ", ") (or (plist-get node :note) "")))
    (plist-get search :nodes) "")))

(provide 'kernelevolve)
;;; kernelevolve.el ends here
