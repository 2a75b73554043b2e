;; Attacks: `llm_tokens`.
;; Input: a prompt of N bytes, a token for each four, and an answer of one token; empty = 100 million. What is begun is
;;   dropped at once: a model need not be there.
;; When the host says no: returns the error `budget-exhausted`, or `refused` if the host's error was another
;;   one.
;; Must happen: over, `budget_exhausted` with the text `budget-exhausted`; more than one call may carry,
;;   `hostcall_limit`; under, completes and returns its input.
(component
  ;; include types
  ;; include inference
  ;; include skeleton
  (core func $chat-stream (canon lower (func $inference "chat-stream") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (import "skeleton" "alloc" (func $alloc (param i64) (result i32)))
    (import "skeleton" "number" (func $number (param i32 i32) (result i64)))
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (import "host" "chat-stream" (func $chat-stream (param i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (data (i32.const 136) "budget-exhaustedrefused")
    ;; What the error at 72 of a refusal at 64 is called: 3 is budget-exhausted.
    (func $refused (result i32)
      (if (i32.eq (i32.load8_u (i32.const 72)) (i32.const 3)) (then
        (return (call $answer (i32.const 1) (i32.const 136) (i32.const 16)))))
      (call $answer (i32.const 1) (i32.const 152) (i32.const 7)))
    ;; One message, at 200, of the user; the model `attest`, whose name is at 224; one token.
    (data (i32.const 200) "\01")
    (data (i32.const 224) "attest")
    (data (i32.const 256) "\c8\00\00\00\01\00\00\00\01\00\00\00\e0\00\00\00\06\00\00\00")
    (data (i32.const 312) "\01\00\00\00\01\00\00\00")
    (func $run (export "run") (param $at i32) (param $len i32) (result i32) (local $n i64)
      (local.set $n (call $number (local.get $at) (local.get $len)))
      (if (i64.lt_s (local.get $n) (i64.const 0)) (then (local.set $n (i64.const 100000000))))
      (i32.store (i32.const 204) (call $alloc (local.get $n)))
      (i32.store (i32.const 208) (i32.wrap_i64 (local.get $n)))
      (memory.fill (i32.load (i32.const 204)) (i32.const 97) (i32.load (i32.const 208)))
      (call $chat-stream (i32.const 256) (i32.const 64))
      (if (i32.load8_u (i32.const 64)) (then (return (call $refused))))
      (call $drop (i32.load (i32.const 72)))
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))
    (with "host" (instance (export "chat-stream" (func $chat-stream)) (export "drop" (func $drop))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
