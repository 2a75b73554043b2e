;; Attacks: host memory, and everybody's turns at a model.
;; Input: N answers begun and never taken; empty = without end.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: 65 and more, `guest_error` with the text `refused`; up to 64, completes and returns its input. What they
;;   have cost is charged when the task ends.
(component
  ;; include types
  ;; include inference
  ;; include skeleton
  (core func $chat-stream (canon lower (func $inference "chat-stream") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "chat-stream" (func $chat-stream (param i32 i32)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    ;; One message, at 200, of the user, which is the word at 224; no option but 16 tokens.
    (data (i32.const 200) "\01\00\00\00\e0\00\00\00\05\00\00\00")
    (data (i32.const 224) "hello")
    (data (i32.const 256) "\c8\00\00\00\01\00\00\00")
    (data (i32.const 312) "\01\00\00\00\10\00\00\00")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (block $done
        (loop $next
          (br_if $done (i64.eqz (local.get $n)))
          (call $chat-stream (i32.const 256) (i32.const 64))
          (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
          (local.set $n (i64.sub (local.get $n) (i64.const 1)))
          (br $next)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "chat-stream" (func $chat-stream))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
