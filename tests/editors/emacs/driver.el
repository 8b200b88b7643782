;;; driver.el --- what the cases share  -*- lexical-binding: t; -*-

(require 'cl-lib)
(require 'flymake)
(require 'kernelevolve)

(defvar said nil "All messages so far, newest first.")
(advice-add 'message :before
            (lambda (form &rest values) (when form (push (apply #'format-message form values) said))))

(setq eglot-confirm-server-initiated-edits nil
      eglot-sync-connect 60
      eglot-connect-timeout 60
      eglot-autoshutdown nil
      kernelevolve-program (append (json-parse-string (getenv "TEST_SERVER") :array-type 'list) nil))

(defun until (what holds &optional limit-s)
  "Wait until HOLDS gives a value and return it; an error names WHAT."
  (let ((end (+ (float-time) (or limit-s 60))) value)
    (while (and (not (setq value (funcall holds))) (< (float-time) end))
      (accept-process-output nil 0.05))
    (or value (error "Waited in vain for %s; said: %S" what (cl-subseq said 0 (min 12 (length said)))))))

(defun until-said (part)
  "Wait for a message that holds PART."
  (until part (lambda () (cl-find-if (lambda (text) (string-match-p (regexp-quote part) text)) said))))

(defun must (what value)
  "Fail with WHAT unless VALUE."
  (unless value (error "%s does not hold; said: %S" what (cl-subseq said 0 (min 12 (length said)))))
  value)

(defun open-kernel ()
  "Open triton.py with the server and return it."
  (kernelevolve-setup)
  (find-file "triton.py")
  (must "python-mode" (derived-mode-p 'python-mode))
  (eglot-ensure)
  (run-hooks 'post-command-hook)
  (until "the server" #'eglot-current-server)
  (eglot-current-server))

(defun close-server ()
  "End the server; an error if it does not end by itself."
  (set-buffer "triton.py")
  (let ((server (eglot-current-server)))
    (eglot-shutdown server)
    (must "the end of the server" (not (jsonrpc-running-p server)))))
