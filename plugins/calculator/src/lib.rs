//! The calculator: an expression in, its value out. `decimal` knows numbers, `parser` knows
//! expressions, `functions` what may be called; `component` alone knows that this is a plugin.

mod decimal;
mod functions;
mod parser;

#[cfg(target_family = "wasm")]
mod component;

pub use decimal::Decimal;
pub use parser::{Fault, evaluate};

#[cfg(test)]
mod tests {
    use super::evaluate;

    fn value(expression: &str) -> String {
        match evaluate(expression) {
            Ok(value) => value.to_string(),
            Err(fault) => format!("error at {}: {}", fault.at, fault.message),
        }
    }

    #[test]
    fn the_four_operations_are_exact_to_34_digits() {
        for (expression, expected) in [
            ("0.1 + 0.2", "0.3"),
            ("1 - 0.9", "0.1"),
            ("3 * 0.1", "0.3"),
            ("1 / 3", "0.3333333333333333333333333333333333"),
            ("2 / 3", "0.6666666666666666666666666666666667"),
            ("1 / 3 * 3", "0.9999999999999999999999999999999999"),
            ("12345678901234567 * 98765432109876543", "1219326311370217861743636654061881"),
            ("99999999999999999999 + 1", "100000000000000000000"),
            ("1e30 + 1e-3", "1000000000000000000000000000000.001"),
            ("10 / 4", "2.5"),
            ("2 ^ 100", "1267650600228229401496703205376"),
            ("1e400 * 1e400", "1e+800"),
            ("-7 % 3", "-1"),
            ("5.5 % 2", "1.5"),
            ("1_000 + 1", "1001"),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn operators_bind_as_in_mathematics() {
        for (expression, expected) in [
            ("2 + 3 * 4", "14"),
            ("(2 + 3) * 4", "20"),
            ("2 ^ 3 ^ 2", "512"),
            ("2 ** 3", "8"),
            ("-2 ^ 2", "-4"),
            ("(-2) ^ 2", "4"),
            ("2 ^ -1", "0.5"),
            ("2 * -3", "-6"),
            ("--3", "3"),
            ("10 - 2 - 3", "5"),
            ("8 / 2 / 2", "2"),
            ("3!", "6"),
            ("3!!", "720"),
            ("-3!", "-6"),
            ("2 ^ 3!", "64"),
            ("50%", "0.5"),
            ("200 * 15%", "30"),
            ("7 % 4", "3"),
            ("50% + 1", "1.5"),
            ("10 % (3 + 1)", "2"),
            ("3 × 4 ÷ 2 − 1", "5"),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn functions_and_constants_are_known() {
        for (expression, expected) in [
            ("sqrt(16)", "4"),
            ("sqrt(2)", "1.4142135623730951"),
            ("cbrt(27)", "3"),
            ("abs(-2.5)", "2.5"),
            ("round(2.5)", "3"),
            ("round(-2.5)", "-3"),
            ("round(3.14159, 2)", "3.14"),
            ("floor(-1.5)", "-2"),
            ("ceil(-1.5)", "-1"),
            ("trunc(-1.5)", "-1"),
            ("min(3, 1, 2)", "1"),
            ("max(3, 1, 2)", "3"),
            ("sum(1, 2, 3.5)", "6.5"),
            ("avg(1, 2)", "1.5"),
            ("ln(e)", "1"),
            ("log(1000)", "3"),
            ("log(8, 2)", "3"),
            ("log2(8)", "3"),
            ("exp(0)", "1"),
            ("sin(0)", "0"),
            ("cos(pi)", "-1"),
            ("round(sin(pi / 2), 10)", "1"),
            ("gcd(12, 18)", "6"),
            ("lcm(4, 6)", "12"),
            ("mod(7, 4)", "3"),
            ("pow(2, 10)", "1024"),
            ("hypot(3, 4)", "5"),
            ("sign(-3)", "-1"),
            ("fact(5)", "120"),
            ("deg(pi)", "180"),
            ("SQRT(9)", "3"),
            ("π > 3", "error at 3: unexpected `>`"),
            ("tau / 2 - pi", "0"),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_fault_points_at_its_place() {
        for (expression, expected) in [
            ("", "error at 0: the expression is empty"),
            ("2 +", "error at 3: a number is missing at the end"),
            ("2 + * 3", "error at 4: unexpected `*`"),
            ("(1 + 2", "error at 0: this parenthesis is never closed"),
            ("1 + 2)", "error at 5: unexpected `)`"),
            ("1 / 0", "error at 2: division by zero"),
            ("5 % 0", "error at 2: division by zero"),
            ("sqrt(-1)", "error at 0: sqrt is not defined for -1"),
            ("ln(0)", "error at 0: ln is not defined for 0"),
            ("foo(1)", "error at 0: unknown function `foo`"),
            ("x + 1", "error at 0: unknown name `x`"),
            ("sqrt(1, 2)", "error at 0: sqrt takes 1 argument, not 2"),
            ("1.2.3", "error at 0: `1.2.3` is not a number"),
            ("2 $ 3", "error at 2: unexpected `$`"),
            ("2 3", "error at 2: unexpected `3`"),
            ("(-8) ^ 0.5", "error at 5: a negative number has no such power"),
            ("0 ^ -1", "error at 2: division by zero"),
            ("(-1)!", "error at 4: the factorial needs a whole number from 0 to 2000"),
            ("9!!!", "error at 2: the factorial needs a whole number from 0 to 2000"),
            ("10 ^ 10 ^ 10", "error at 3: the result is too large"),
            ("1e6000 * 1e6000", "error at 7: the result is too large"),
            ("1e99999", "error at 0: `1e99999` is too large"),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_refused_and_not_followed() {
        let deep = format!("{}1{}", "(".repeat(4000), ")".repeat(4000));
        assert!(value(&deep).contains("nested too deeply"), "{}", value(&deep));
        assert!(value(&"-".repeat(5000)).contains("nested too deeply"));
        assert!(value(&"2^".repeat(4000)).contains("nested too deeply"));
        assert!(value(&"1+".repeat(6000)).contains("longer than"));
    }

    #[test]
    fn any_text_ends_in_a_value_or_a_fault() {
        let signs = ["1", ".", "e", "+", "-", "*", "/", "%", "^", "(", ")", "!", ",", "pi", "sqrt", " ", "é", "9e9"];
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                text.push_str(signs[(seed >> 33) as usize % signs.len()]);
            }
            if let Err(fault) = evaluate(&text) {
                assert!(text.is_char_boundary(fault.at), "{text}: {fault:?}");
            }
        }
    }
}
