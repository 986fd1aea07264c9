"""The paper pack's R script, which compares the models once more."""

from __future__ import annotations

from bakeoff.judgement.rubric import DIMENSIONS

_BEGINNING = """# Run in the folder of the pack: Rscript analysis.R
# It repeats the report's comparison of models: cases and raters are random samples, p is adjusted over all pairs,
# dimensions and parts by Shaffer's rule. It writes analysis_pairs.csv. PACKAGES
partial <- PARTIAL
dimensions <- c(DIMENSIONS)
alpha <- 0.05
width <- 4
names_of <- function(x) sub("^repeat[.]?$", "shown_again", x)
has_irr <- requireNamespace("irr", quietly = TRUE)
if (!has_irr) cat("Package irr is not installed: Krippendorff's alpha and ICC are left out.\\n")
long <- read.csv("long.csv", fileEncoding = "UTF-8-BOM", colClasses = c(rater = "character", case = "character"))
names(long) <- names_of(names(long))
long <- subset(long, shown_again == 0)

# The ratings of a table as [case, model, rater]; NA where there is none.
cube_of <- function(own) {
  axes <- lapply(own[c("case", "subject", "rater")], function(x) sort(unique(as.character(x)), method = "radix"))
  cube <- array(NA_real_, sapply(axes, length), axes)
  cube[cbind(as.character(own$case), as.character(own$subject), as.character(own$rater))] <- own$score
  cube
}

# The block without gaps: what has most of them goes first; a model only if it lacks more than half.
block_of <- function(cube) {
  while (length(cube) && anyNA(cube)) {
    gaps <- lapply(1:3, function(axis) apply(is.na(cube), axis, mean))
    worst <- sapply(gaps, max)
    if (worst[2] <= 0.5) worst[2] <- -1
    order_of_loss <- c(1, 3, 2)
    axis <- order_of_loss[which.max(worst[order_of_loss])]
    place <- which.max(gaps[[axis]])
    if (axis == 1) cube <- cube[-place, , , drop = FALSE]
    if (axis == 2) cube <- cube[, -place, , drop = FALSE]
    if (axis == 3) cube <- cube[, , -place, drop = FALSE]
  }
  cube
}

# Mean squares of the crossed layout, by axes: c, m, r, cm, cr, mr, cmr.
squares_of <- function(cube) {
  size <- setNames(dim(cube), c("c", "m", "r"))
  parts <- list("c", "m", "r", c("c", "m"), c("c", "r"), c("m", "r"), c("c", "m", "r"))
  effect <- list(array(mean(cube), dim(cube)))
  axes_of <- list(character(0))
  square <- freedom <- numeric(0)
  for (axes in parts) {
    at <- match(axes, names(size))
    value <- array(0, dim(cube))
    value <- sweep(value, at, apply(cube, at, mean), "+")
    for (number in seq_along(effect)) if (all(axes_of[[number]] %in% axes)) value <- value - effect[[number]]
    effect[[length(effect) + 1]] <- value
    axes_of[[length(axes_of) + 1]] <- axes
    name <- paste(axes, collapse = "")
    freedom[name] <- prod(size[axes] - 1)
    square[name] <- if (freedom[name] > 0) sum(value^2) / freedom[name] else 0
  }
  list(square = square, freedom = freedom)
}

# Variance of a difference of two means if all models scatter alike, with Satterthwaite's degrees of freedom.
pooled_error <- function(cube, s) {
  term <- s$square["mr"]
  df <- s$freedom["mr"]
  if (s$square["cm"] > s$square["cmr"]) {
    term <- c(term, s$square["cm"], -s$square["cmr"])
    df <- c(df, s$freedom["cm"], s$freedom["cmr"])
  }
  total <- max(sum(term), s$square["mr"], 0)
  spread <- sum((term^2 / df)[df > 0])
  fewest <- if (any(df > 0)) min(df[df > 0]) else 1
  freedom <- if (spread > 0) min(max(total^2 / spread, fewest), sum(df)) else fewest
  c(2 * total / (dim(cube)[1] * dim(cube)[3]), freedom)
}

inverse_trigamma <- function(value) {
  x <- 0.5 + 1 / value
  for (step in 1:50) {
    move <- trigamma(x) * (1 - trigamma(x) / value) / psigamma(x, 2)
    x <- x + move
    if (abs(move) < 1e-10 * x) break
  }
  x
}

# The scatter of each model over cases, drawn towards the mean of all (Smyth 2004); NULL where all are alike.
scatter_of <- function(cube) {
  cases <- dim(cube)[1]
  models <- dim(cube)[2]
  if (models < 3 || cases < 3) return(NULL)
  means <- apply(cube, 1:2, mean)
  left <- sweep(sweep(means, 1, rowMeans(means)), 2, colMeans(means)) + mean(means)
  seen <- colSums(left^2) / (cases - 1)
  if (min(seen) <= 0) return(NULL)
  freedom <- (cases - 1) * (1 - 1 / models)
  excess <- var(log(seen)) - trigamma(freedom / 2)
  if (excess <= 1e-4) return(NULL)
  prior <- 2 * inverse_trigamma(excess)
  total <- sum(seen) / (1 - 1 / models)
  own <- pmax((seen - total / models^2) / (1 - 2 / models), 0.25 * seen)
  share <- freedom / (prior + freedom)
  list(variances = mean(own) + share * (own - mean(own)), share = share)
}

error_of_pair <- function(cube, s, scatter, pair) {
  cases <- dim(cube)[1]
  models <- dim(cube)[2]
  raters <- dim(cube)[3]
  case <- raters * sum(scatter$variances[pair])
  total <- max(case + 2 * (s$square["mr"] - s$square["cmr"]), 2 * s$square["mr"])
  centred <- diag(models) - 1 / models
  form <- rep(-2 / models^2 / (1 - 1 / models), models)
  form[pair] <- form[pair] + 1
  product <- form * (centred %*% diag(scatter$variances) %*% centred)
  of_cases <- (cases - 1) * sum(diag(product))^2 / sum(product * t(product))
  of_cases <- min(of_cases / scatter$share, s$freedom["cm"])
  spread <- (2 * s$square["mr"])^2 / s$freedom["mr"] + (2 * s$square["cmr"])^2 / s$freedom["cmr"] + case^2 / of_cases
  most <- s$freedom["mr"] + s$freedom["cm"] + s$freedom["cmr"]
  c(total / (cases * raters), min(max(total^2 / spread, min(s$freedom["mr"], cases - 1)), most))
}

# Never less than what one case more could do that went one point the other way.
at_least_a_case <- function(error, cases, models, raters) {
  floor <- (width / 4 / (cases + 1))^2
  if (error[1] >= floor) return(error)
  c(floor, min(error[2], cases - 1, (models - 1) * (raters - 1)))
}

tested <- function(a, b, difference, error) {
  spread <- sqrt(error[1])
  reach <- qt(1 - alpha / 2, error[2]) * spread
  data.frame(a = a, b = b, difference = difference, low = max(-width, difference - reach),
             high = min(width, difference + reach), df = error[2], p = 2 * pt(-abs(difference) / spread, error[2]),
             row.names = NULL)
}

can_differ <- function(cases, raters, models) {
  pairs <- max(1, choose(models, 2))
  raters > 1 && cases >= max(2, floor(1 + log2(pairs / alpha)) + 1)
}

"""

_COMPLETE = """# Every rater rated every case: the analysis of variance of the crossed layout.
pairs_of <- function(own) {
  cube <- block_of(cube_of(own))
  size <- dim(cube)
  if (!length(cube) || size[1] < 2 || size[2] < 2 || size[3] < 2) return(NULL)
  s <- squares_of(cube)
  scatter <- scatter_of(cube)
  rows <- NULL
  for (a in 1:(size[2] - 1)) for (b in (a + 1):size[2]) {
    error <- if (is.null(scatter)) pooled_error(cube, s) else error_of_pair(cube, s, scatter, c(a, b))
    error <- at_least_a_case(error, size[1], size[2], size[3])
    difference <- mean(cube[, a, ]) - mean(cube[, b, ])
    rows <- rbind(rows, tested(dimnames(cube)[[2]][a], dimnames(cube)[[2]][b], difference, error))
  }
  rows$in_family <- can_differ(size[1], size[3], max(2, size[2]))
  rows
}
"""

_PARTIAL = """# Each rater saw some of the cases only: a linear mixed model by restricted maximum likelihood.
library(lme4); library(lmerTest); library(emmeans)
pairs_of <- function(own) {
  # Whoever sees a case sees every model's reply to it: blocks that lack one are left out.
  block <- paste(own$case, own$rater)
  share <- table(own$subject) / length(unique(block))
  own <- own[own$subject %in% names(share)[share > 0.5], ]
  block <- paste(own$case, own$rater)
  whole <- names(which(table(block) == length(unique(own$subject))))
  own <- own[block %in% whole, ]
  if (length(unique(own$subject)) < 2 || length(unique(own$rater)) < 2) return(NULL)
  terms <- list(case = "case", rater = "rater", case_subject = c("case", "subject"),
                rater_subject = c("rater", "subject"), case_rater = c("case", "rater"))
  for (term in names(terms)) own[[term]] <- interaction(own[terms[[term]]], drop = TRUE)
  # An effect with a level of its own for every score is the rest itself, and one that groups as another does is it.
  told <- Filter(function(term) nlevels(own[[term]]) > 1 && nlevels(own[[term]]) < nrow(own), names(terms))
  groups <- lapply(told, function(term) match(own[[term]], unique(own[[term]])))
  told <- told[!duplicated(groups)]
  own$subject <- factor(own$subject, sort(unique(as.character(own$subject)), method = "radix"))
  formula <- as.formula(paste("score ~ subject", paste0("+ (1 | ", told, ")", collapse = " ")))
  model <- try(lmer(formula, own), silent = TRUE)
  if (inherits(model, "try-error")) { cat("no mixed model:", model); return(NULL) }
  size <- c(nlevels(own$case), nlevels(own$subject), nlevels(own$rater))
  means <- emmeans(model, "subject", lmer.df = "satterthwaite")
  shown <- as.data.frame(pairs(means, adjust = "none"))
  names_of_models <- levels(own$subject)
  rows <- NULL
  at <- 0
  for (a in 1:(size[2] - 1)) for (b in (a + 1):size[2]) {
    at <- at + 1
    error <- at_least_a_case(c(shown$SE[at]^2, shown$df[at]), size[1], size[2], size[3])
    rows <- rbind(rows, tested(names_of_models[a], names_of_models[b], shown$estimate[at], error))
  }
  rows$in_family <- can_differ(size[1], size[3], max(2, size[2]))
  rows
}
"""

_END = """
# The most pairs of a table that can be equal, those in apart being different: equality makes groups of models.
partitions <- function(items) {
  if (length(items) < 2) return(list(as.integer(items)))
  grown <- list(1L)
  for (item in 2:length(items)) {
    grown <- unlist(lapply(grown, function(p) lapply(1:(max(p) + 1), function(group) c(p, group))), recursive = FALSE)
  }
  grown
}
equal_pairs <- function(models) {
  if (models == 0) return(0)
  sort(unique(unlist(lapply(1:models, function(size) choose(size, 2) + equal_pairs(models - size)))))
}
groupings_of <- function(rows) {
  models <- sort(unique(c(rows$a, rows$b)), method = "radix")
  if (length(models) > 8) return(list(models = length(models)))
  groups <- do.call(rbind, partitions(seq_along(models)))
  list(models = length(models), together = groups[, match(rows$a, models), drop = FALSE] ==
         groups[, match(rows$b, models), drop = FALSE])
}
still_equal <- function(groupings, apart, pair = NULL) {
  if (is.null(groupings$together)) {
    most <- choose(groupings$models, 2) - length(apart)
    counts <- equal_pairs(groupings$models)
    return(min(max(counts[counts <= most], 0), groupings$tests - length(apart)))
  }
  fits <- rep(TRUE, nrow(groupings$together))
  if (length(apart)) fits <- fits & !apply(groupings$together[, apart, drop = FALSE], 1, any)
  if (!is.null(pair)) fits <- fits & groupings$together[, pair]
  max(rowSums(groupings$together[fits, , drop = FALSE]))
}

# Shaffer's rule over several tables: a step multiplies by how many pairs can still be equal in all of them.
shaffer <- function(tables) {
  groupings <- lapply(tables, groupings_of)
  for (at in seq_along(groupings)) groupings[[at]]$tests <- nrow(tables[[at]])
  every <- do.call(rbind, lapply(seq_along(tables), function(at) {
    data.frame(p = tables[[at]]$p, at = at, place = seq_len(nrow(tables[[at]])))
  }))
  every <- every[order(every$p, every$at, every$place), ]
  apart <- lapply(tables, function(rows) integer(0))
  left <- sapply(tables, nrow)
  adjusted <- lapply(tables, function(rows) rep(1, nrow(rows)))
  reached <- 0
  for (row in seq_len(nrow(every))) {
    at <- every$at[row]
    place <- every$place[row]
    equal <- sum(left) - left[at] + still_equal(groupings[[at]], apart[[at]], place)
    reached <- max(reached, equal * every$p[row])
    if (reached >= 1) break
    adjusted[[at]][place] <- reached
    apart[[at]] <- c(apart[[at]], place)
    left[at] <- still_equal(groupings[[at]], apart[[at]])
  }
  adjusted
}

tables <- list()
for (part in c(0, 1)) {
  if (!any(long$crisis == part)) next
  cat(if (part == 1) "\\n== crisis cases\\n" else "\\n== counselling cases\\n")
  for (name in dimensions) {
    own <- subset(long, dimension == name & crisis == part)
    if (!nrow(own)) next
    cat("\\n--", name, "\\n")
    print(aggregate(score ~ subject, own, function(x) c(n = length(x), M = mean(x), SD = sd(x))))
    wide <- read.csv(paste0("raters_", name, ".csv"), fileEncoding = "UTF-8-BOM", check.names = FALSE)
    scores <- as.matrix(wide[wide$crisis == part, -(1:4), drop = FALSE])
    if (has_irr && ncol(scores) > 1) {
      print(irr::kripp.alpha(t(scores), method = "ordinal"))
      whole <- na.omit(scores)
      if (nrow(whole) > 1) print(irr::icc(whole, model = "twoway", type = "agreement", unit = "average"))  # ICC(2,k)
    }
    rows <- pairs_of(own)
    if (is.null(rows)) next
    tables[[length(tables) + 1]] <- cbind(part = if (part == 1) "crisis" else "counselling", dimension = name, rows)
  }
}
if (length(tables)) {
  is_in <- sapply(tables, function(rows) rows$in_family[1])
  adjusted <- lapply(tables, function(rows) rep(NA_real_, nrow(rows)))
  if (any(is_in)) adjusted[is_in] <- shaffer(tables[is_in])
  for (at in seq_along(tables)) tables[[at]]$p_adjusted <- adjusted[[at]]
  everything <- do.call(rbind, tables)
  everything$in_family <- NULL
  for (rows in split(everything, list(everything$part, everything$dimension), drop = TRUE)) {
    cat("\\n==", rows$part[1], rows$dimension[1], "\\n")
    print(rows[-(1:2)], row.names = FALSE, digits = 4)
  }
  write.csv(format(everything, digits = 15), "analysis_pairs.csv", row.names = FALSE, fileEncoding = "UTF-8")
  cat("\\nNA: nothing could come out there (one rater, or too few cases), so those pairs are in no family.\\n")
}
"""


def r_script(is_partial: bool = False) -> str:
    """Return the script that compares models, with alpha, ICC, M and SD.

    *is_partial*: each rater saw some of the cases only, so that a mixed model (lme4) takes the place of the analysis of
    variance.
    """
    packages = '\n# install.packages(c("irr"LME))'.replace(
        "LME", ', "lme4", "lmerTest", "emmeans"' if is_partial else ""
    )
    beginning = _BEGINNING.replace(" PACKAGES", packages).replace("PARTIAL", str(is_partial).upper())
    names = ", ".join(f'"{name}"' for name in DIMENSIONS)
    beginning = beginning.replace("c(DIMENSIONS)", f"c({names})")
    return beginning + (_PARTIAL if is_partial else _COMPLETE) + _END
