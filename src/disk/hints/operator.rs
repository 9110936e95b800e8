//! The operators of root device hints, as Ironic has them.
//!
//! Their grammar is that of `oslo_utils.specs_matcher`. Where that would compare what cannot be compared, such as text with a number,
//! or pass over a part of the expression, the expression is refused here: a hint that is misread is a disk that is lost.

use std::cmp::Ordering;
use std::ops::{Bound, RangeBounds as _};

/// How two values must lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Longer ones first: one may begin another.
const TEXT_COMPARISONS: [(&str, Comparison); 6] = [
    ("s==", Comparison::Equal),
    ("s!=", Comparison::NotEqual),
    ("s<=", Comparison::LessOrEqual),
    ("s>=", Comparison::GreaterOrEqual),
    ("s<", Comparison::Less),
    ("s>", Comparison::Greater),
];

/// Longer ones first: one may begin another. `=` is "at least", as in Nova's flavours.
const NUMBER_COMPARISONS: [(&str, Comparison); 7] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::GreaterOrEqual),
];

const IN: &str = "<in>";
const ALL_IN: &str = "<all-in>";
const OR: &str = "<or>";
const RANGE_IN: &str = "<range-in>";

/// What a text must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    /// It lies so to this one.
    Compare(Comparison, String),
    /// It has this one in it.
    In(String),
    /// It has each of these in it.
    AllIn(Vec<String>),
    /// It is one of these.
    Or(Vec<String>),
}

impl TextTest {
    /// Reads an expression in lower case; without an operator it is the text to be equal to.
    ///
    /// # Errors
    /// What was expected instead.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        let expression = expression.trim();
        if let Some(rest) = expression.strip_prefix(IN) {
            return Ok(Self::In(operand(rest)?));
        }
        if let Some(rest) = expression.strip_prefix(ALL_IN) {
            let words = operand(rest)?;
            return Ok(Self::AllIn(words.split_whitespace().map(str::to_owned).collect()));
        }
        if let Some(rest) = expression.strip_prefix(OR) {
            return rest.split(OR).map(operand).collect::<Result<_, _>>().map(Self::Or);
        }
        for (operator, comparison) in TEXT_COMPARISONS {
            if let Some(rest) = expression.strip_prefix(operator) {
                return Ok(Self::Compare(comparison, operand(rest)?));
            }
        }
        if expression.starts_with(['=', '!', '<', '>']) {
            return Err(format!(
                "expected text, or one of the operators for text: s==, s!=, s<, s<=, s>, s>=, {IN}, {ALL_IN}, {OR}"
            ));
        }
        Ok(Self::Compare(Comparison::Equal, operand(expression)?))
    }

    /// Whether a text in lower case is so.
    pub(super) fn matches(&self, found: &str) -> bool {
        match self {
            Self::Compare(comparison, text) => comparison.holds(found.cmp(text)),
            Self::In(text) => found.contains(text),
            Self::AllIn(texts) => texts.iter().all(|text| found.contains(text)),
            Self::Or(texts) => texts.iter().any(|text| found == text),
        }
    }
}

/// What stands after an operator.
fn operand(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("expected a value, found none".to_owned());
    }
    match [IN, ALL_IN, OR, RANGE_IN].into_iter().find(|operator| text.contains(operator)) {
        Some(operator) => Err(format!("expected one operator, at the beginning; found {operator} after it")),
        None => Ok(text.to_owned()),
    }
}

/// What a number must be like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NumberTest {
    /// It lies so to this one.
    Compare(Comparison, f64),
    /// It lies between these.
    RangeIn(Bound<f64>, Bound<f64>),
}

impl NumberTest {
    /// Reads an expression; without an operator it is the number to be equal to.
    ///
    /// # Errors
    /// What was expected instead.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        let expression = expression.trim();
        if let Some(rest) = expression.strip_prefix(RANGE_IN) {
            return range(rest.trim()).ok_or_else(|| {
                format!(
                    "expected `{RANGE_IN} [ low high ]`, with `(` or `)` where the end itself does not count"
                )
            });
        }
        let (comparison, rest) = NUMBER_COMPARISONS
            .into_iter()
            .find_map(|(operator, comparison)| Some((comparison, expression.strip_prefix(operator)?)))
            .unwrap_or((Comparison::Equal, expression));
        let number = number(rest).ok_or_else(|| {
            format!(
                "expected a number that is not negative, alone or after ==, !=, <, <=, >, >=, = (at least) or {RANGE_IN}"
            )
        })?;
        Ok(Self::Compare(comparison, number))
    }

    /// Whether a number is so.
    pub(super) fn matches(&self, found: f64) -> bool {
        match self {
            Self::Compare(comparison, number) => {
                found.partial_cmp(number).is_some_and(|ordering| comparison.holds(ordering))
            }
            Self::RangeIn(low, high) => (*low, *high).contains(&found),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

/// `[ low high ]`, in which there is room for a number.
fn range(text: &str) -> Option<NumberTest> {
    let low_bound = match text.chars().next()? {
        '[' => Bound::Included,
        '(' => Bound::Excluded,
        _ => return None,
    };
    let high_bound = match text.chars().last()? {
        ']' => Bound::Included,
        ')' => Bound::Excluded,
        _ => return None,
    };
    let mut numbers = text.get(1..text.len() - 1)?.split_whitespace().map(number);
    let (Some(Some(low)), Some(Some(high)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return None;
    };
    (low <= high).then(|| NumberTest::RangeIn(low_bound(low), high_bound(high)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(expression: &str) -> impl Fn(&str) -> bool {
        let test = TextTest::parse(expression).unwrap();
        move |found| test.matches(found)
    }

    fn number(expression: &str) -> impl Fn(f64) -> bool {
        let test = NumberTest::parse(expression).unwrap();
        move |found| test.matches(found)
    }

    #[test]
    fn text_operators() {
        for (expression, yes, no) in [
            ("samsung", "samsung", "samsung ssd"),
            ("pm 983", "pm 983", "pm983"),
            ("s== a b", "a b", "a"),
            ("s==a", "a", "b"),
            ("s!= a", "b", "a"),
            ("s< b", "a", "b"),
            ("s<= b", "b", "c"),
            ("s> b", "c", "b"),
            ("s>= b", "b", "a"),
            ("<in> ssd", "samsung ssd 970", "samsung hdd"),
            ("<in> ssd 9", "samsung ssd 970", "samsung 970 ssd"),
            ("<all-in> 970 ssd", "samsung ssd 970", "samsung ssd 860"),
            ("<or> a b <or> c", "a b", "b"),
            ("<or> a b<or>c", "c", "a"),
        ] {
            assert!(text(expression)(yes), "{expression} should match {yes}");
            assert!(!text(expression)(no), "{expression} should not match {no}");
        }
    }

    #[test]
    fn number_operators() {
        for (expression, yes, no) in [
            ("40", 40.0, 40.5),
            ("== 40", 40.0, 41.0),
            ("!= 40", 41.0, 40.0),
            ("< 40", 39.9, 40.0),
            ("<=40", 40.0, 40.1),
            ("> 40", 40.1, 40.0),
            (">= 40.5", 40.5, 40.4),
            ("= 40", 1000.0, 39.0),
            ("<range-in> [ 10 20 ]", 10.0, 9.9),
            ("<range-in> [10 20]", 20.0, 20.1),
            ("<range-in> ( 10 20 )", 15.0, 10.0),
            ("<range-in> [ 10 20 )", 10.0, 20.0),
        ] {
            assert!(number(expression)(yes), "{expression} should match {yes}");
            assert!(!number(expression)(no), "{expression} should not match {no}");
        }
    }

    #[test]
    fn what_would_be_misread_is_refused() {
        for (expression, part) in [
            ("", "expected a value, found none"),
            ("  ", "expected a value, found none"),
            ("s==", "expected a value, found none"),
            ("<or> a <or>", "expected a value, found none"),
            ("<in> a <in> b", "found <in> after it"),
            ("a <or> b", "found <or> after it"),
            ("<all-in> a <or> b", "found <or> after it"),
            ("== a", "one of the operators for text: s==,"),
            (">= 4", "one of the operators for text: s==,"),
            ("<range-in> [ 1 2 ]", "one of the operators for text: s==,"),
        ] {
            let reason = TextTest::parse(expression).unwrap_err();
            assert!(reason.contains(part), "{expression}: {reason}");
        }
        for expression in ["", "x", "-1", "nan", "inf", "== ", "=> 4", "s== 4", "<or> 4 <or> 5", "40 GiB"] {
            let reason = NumberTest::parse(expression).unwrap_err();
            assert!(reason.starts_with("expected a number"), "{expression}: {reason}");
        }
        for range in ["", "10 20", "[ 10 ]", "[ 10 20", "[ 20 10 ]", "[ 1 2 3 ]", "[", "é", "[ a b ]"] {
            let reason = NumberTest::parse(&format!("<range-in> {range}")).unwrap_err();
            assert!(reason.starts_with("expected `<range-in> [ low high ]`"), "{range}: {reason}");
        }
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-c]{1,3}"
    }

    proptest! {
        #[test]
        fn text_compares_as_text(wanted in word(), found in word()) {
            prop_assert_eq!(text(&format!("s== {wanted}"))(&found), found == wanted);
            prop_assert_eq!(text(&wanted)(&found), found == wanted);
            prop_assert_eq!(text(&format!("s!= {wanted}"))(&found), found != wanted);
            prop_assert_eq!(text(&format!("s< {wanted}"))(&found), found < wanted);
            prop_assert_eq!(text(&format!("s<= {wanted}"))(&found), found <= wanted);
            prop_assert_eq!(text(&format!("s> {wanted}"))(&found), found > wanted);
            prop_assert_eq!(text(&format!("s>= {wanted}"))(&found), found >= wanted);
        }

        #[test]
        fn text_is_searched(words in prop::collection::vec(word(), 1..4), found in "[a-c ]{0,8}") {
            prop_assert_eq!(text(&format!("<in> {}", words[0]))(&found), found.contains(&words[0]));
            let all = format!("<all-in> {}", words.join(" "));
            prop_assert_eq!(text(&all)(&found), words.iter().all(|word| found.contains(word.as_str())));
            let or: String = words.iter().map(|word| format!("<or> {word} ")).collect();
            prop_assert_eq!(text(&or)(&found), words.contains(&found));
        }

        #[test]
        fn numbers_compare_as_numbers(wanted in 0..8_u32, high in 8..16_u32, found in 0..16_u32) {
            let given = f64::from(found);
            prop_assert_eq!(number(&format!("{wanted}"))(given), found == wanted);
            prop_assert_eq!(number(&format!("== {wanted}"))(given), found == wanted);
            prop_assert_eq!(number(&format!("!= {wanted}"))(given), found != wanted);
            prop_assert_eq!(number(&format!("< {wanted}"))(given), found < wanted);
            prop_assert_eq!(number(&format!("<= {wanted}"))(given), found <= wanted);
            prop_assert_eq!(number(&format!("> {wanted}"))(given), found > wanted);
            prop_assert_eq!(number(&format!(">= {wanted}"))(given), found >= wanted);
            prop_assert_eq!(number(&format!("= {wanted}"))(given), found >= wanted);
            prop_assert_eq!(number(&format!("<range-in> [ {wanted} {high} ]"))(given), (wanted..=high).contains(&found));
            prop_assert_eq!(number(&format!("<range-in> ( {wanted} {high} )"))(given), found > wanted && found < high);
        }

        #[test]
        fn any_expression_is_read_or_refused(
            operator in "(s==|s!=|s<|<in>|<all-in>|<or>|<range-in>|==|=|<|>)?", rest in "\\PC*", found in "\\PC*",
        ) {
            let expression = format!("{operator}{rest}");
            let _ = TextTest::parse(&expression).map(|test| test.matches(&found));
            let _ = NumberTest::parse(&expression).map(|test| test.matches(1.0));
        }
    }
}
