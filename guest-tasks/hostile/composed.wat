;; Attacks nothing: two components side by side, one calling the other with a string, as composing tools
;;   (and QuickJS) make them.
;; Input: text.
;; Must happen: completes and returns its input. wasmtime's own adapter between the two needs two memories in
;;   one module, which guests themselves may not have.
(component
  (component $listener
    (core module $m
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "listen") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func (export "listen") (param "text" string)
      (canon lift (core func $i "listen") (memory $i "memory") (realloc (func $i "realloc")))))
  (component $speaker
    (import "listen" (func $listen (param "text" string)))
    ;; include skeleton
    (core func $listen (canon lower (func $listen) (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
    (core module $attack
      (import "skeleton" "memory" (memory 1))
      (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
      (import "host" "listen" (func $listen (param i32 i32)))
      (func $run (export "run") (param $at i32) (param $len i32) (result i32)
        (call $listen (local.get $at) (local.get $len))
        (call $answer (i32.const 0) (local.get $at) (local.get $len))))
    (core instance $attack (instantiate $attack
      (with "skeleton" (instance $skeleton))
      (with "host" (instance (export "listen" (func $listen))))))
    (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
      (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc")))))
  (instance $listener (instantiate $listener))
  (instance $speaker (instantiate $speaker (with "listen" (func $listener "listen"))))
  (alias export $speaker "run" (func $run))
  (export "run" (func $run)))
